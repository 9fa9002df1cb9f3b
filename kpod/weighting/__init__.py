"""Stage `weights`: the token weighter (Eq. 2-7). Imports training and below."""
