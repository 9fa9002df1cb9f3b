"""Where questions come from: the word-problem generator, users' files and public sets."""
