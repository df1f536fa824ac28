"""How the scripts talk: options, tables, progress, exits. Nothing here is run by itself."""
