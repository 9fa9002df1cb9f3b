"""GPU memory and hours of a recipe from shapes alone, without loading a model. Imports distill, teacher and below."""
