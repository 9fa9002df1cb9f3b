"""The table of stages, how one is executed, and the results of finished runs. Imports the stages by name, and below."""
