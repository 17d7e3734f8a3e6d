"""What a comparison of networks and one of runs both write."""

TABLE = "compare.csv"
PAGE = "compare.html"
