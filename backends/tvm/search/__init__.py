"""Which tile a kernel gets: by the ranking alone, or measured within a budget and kept in a database."""
