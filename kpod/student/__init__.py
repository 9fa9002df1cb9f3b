"""Stage `base`: the student before distillation, loaded or pretrained here. Imports training, teacher and below."""
