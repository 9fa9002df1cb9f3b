"""Pictures and the HTML report of a run: what a person looks at when the numbers are in."""
