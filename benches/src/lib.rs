//! Measurements of warifu beside its peers; see `README.md`.
