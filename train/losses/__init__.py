"""What training minimises: one module a family of losses, and the sum that a recipe makes of them."""

from collections.abc import Callable

from torch import Tensor

Term = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Features, float32 ``(n, d)``, classes, int64 ``(n,)``, and whose rows are infrared, bool ``(n,)`` -> a scalar."""
