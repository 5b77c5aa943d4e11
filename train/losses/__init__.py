"""What training minimises: one module a family of losses, and the sum that a recipe makes of them."""
