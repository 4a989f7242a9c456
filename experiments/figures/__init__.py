"""The figures: each file has a function of data and a function that draws them."""
