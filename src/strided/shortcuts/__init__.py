"""Looks for shortcuts: what tells the classes of a data set apart, other than their content."""
