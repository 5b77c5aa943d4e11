"""From a recipe to a checkpoint: one step, many steps, several processes, and through any interruption."""
