"""One self-contained HTML page of a fitted line and the images that it scored."""
