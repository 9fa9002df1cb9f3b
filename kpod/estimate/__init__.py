"""GPU memory and hours of a recipe, from shapes alone: nothing is loaded, trained or sent."""
