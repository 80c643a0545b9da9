//! Denoising: rows -> inputs and targets, as a pure function of (seed, epoch, key of the row).
//!
//! | module | decides |
//! |---|---|
//! | [`plan`] | how much is hidden, and the lengths that follow |
//! | [`draw`] | which spans |
//! | [`units`] | what may be hidden, and what is hidden as one |
//! | [`mixture`] | which denoiser a row gets |
//! | [`apply`], [`merge`] | what corrupted rows look like, and back |
//! | [`corrupt`] | all of it, row by row, into a batch |
//! | [`masked_lm`] | BERT's way: tokens replaced where they stand |

pub mod apply;
pub mod corrupt;
pub mod draw;
pub mod ids;
pub mod masked_lm;
pub mod merge;
pub mod mixture;
pub mod plan;
pub mod row;
pub mod units;
