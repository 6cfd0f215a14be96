//! What the benchmarks share: clocks and samples, the floor, the product.

pub(crate) mod floor;
pub(crate) mod measure;
pub(crate) mod product;
