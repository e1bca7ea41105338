"""What a run looked at, as a page: a function of its folder, for which no model is loaded."""
