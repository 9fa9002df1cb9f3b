"""Reading the answer from a text, comparing answers, cutting the closing statement. Imports text."""
