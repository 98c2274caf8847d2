"""Images in whatever form they come, checked and decoded. No torch."""
