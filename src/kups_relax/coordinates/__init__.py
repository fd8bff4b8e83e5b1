"""What may move: constraints and cells, as coordinates of a relaxation."""
