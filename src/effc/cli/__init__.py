"""The command line: arguments in, one verb called, its report printed for people or as JSON."""
