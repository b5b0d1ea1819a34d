"""What every layer shares: errors, targets, options, manifests, files, children. Standard library alone."""
