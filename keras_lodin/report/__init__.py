"""What reports are made with: pages, tables and the style of plots."""
