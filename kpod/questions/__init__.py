"""Stage `questions`: generated word problems, the user's files and public sets. Imports answers, config and below."""
