"""What any package needs: files, progress, names, numbers."""
