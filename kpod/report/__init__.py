"""Stage `report`: tables, pictures and the page of a run. Imports evaluate, distill and below."""
