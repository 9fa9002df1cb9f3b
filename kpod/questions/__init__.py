"""Stage `questions`: generated word problems, files and public sets. Imports answers, config and below."""
