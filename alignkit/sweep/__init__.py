"""Many runs of one file: recipes, lists of values and seeds, run one after the other and set side by side."""
