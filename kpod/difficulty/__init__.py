"""Stage `difficulty`: how hard each step is for the student before distillation (Eq. 8). Imports training and below."""
