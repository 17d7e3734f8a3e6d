"""Files that comparisons write: of networks and of runs, and of pools of folds."""

TABLE = "compare.csv"
PAGE = "compare.html"
POOL_TABLE = "pool.csv"
POOL_PAGE = "pool.html"
SUBGROUPS = "subgroups.csv"
LABEL_SUSPECTS = "label_suspects.csv"
CARD = "card.md"
