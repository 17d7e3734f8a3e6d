"""Files that both kinds of comparison write: of networks and of runs."""

TABLE = "compare.csv"
PAGE = "compare.html"
