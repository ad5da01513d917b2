//! Sequences that failed once, as short as they could be made.
