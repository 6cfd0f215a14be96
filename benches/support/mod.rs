//! What the benchmarks share: clocks and samples, the floor, the product, a daemon.

pub(crate) mod floor;
pub(crate) mod measure;
pub(crate) mod product;
pub(crate) mod serving;
