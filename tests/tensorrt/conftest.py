"""What lies in `on_bindings` runs in processes of its own, started by test_conformance.py."""

collect_ignore = ["on_bindings"]
