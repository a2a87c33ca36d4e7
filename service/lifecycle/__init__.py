"""From the repository on disk to the registry in memory, and after every change of either again."""
