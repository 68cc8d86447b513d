//! Prefetch and huge-page memory: the only file of `src/` that may hold `unsafe`.
