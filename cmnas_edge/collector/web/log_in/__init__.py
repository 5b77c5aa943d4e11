"""The page where people log in, and what stands behind it."""

from cmnas_edge.collector.web.log_in.doors import LogIn

__all__ = ["LogIn"]
