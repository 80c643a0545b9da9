//! Denoising: rows -> inputs and targets, as a pure function of (seed, epoch, key of the row).
//!
//! | module | decides |
//! |---|---|
//! | [`plan`] | how much is hidden, and the lengths that follow |
//! | [`draw`] | which spans |
//! | [`rules`] | what may be hidden |
//! | [`words`] | which tokens are hidden together |
//! | [`mixture`] | which denoiser a row gets |
//! | [`apply`], [`merge`] | what corrupted rows look like, and the inverse |
//! | [`seq_to_seq`] | rows -> a batch of inputs and targets, for noise that plans and writes a row |
//! | [`corrupt`] | span corruption: all of this, row by row, into a batch |
//! | [`masked_lm`] | masked LM: tokens are replaced in place |
//! | [`diffusion`] | masked diffusion: tokens become the mask, each row with its own probability |
//! | [`fill_in_the_middle`] | the middle of a document moves to its end |
//! | [`infill`] | text infilling: one mask for each span, sentences in another order |
//!
//! Rows are slices, one for each row, so that rows in separate arrays are read in place.

pub mod apply;
pub mod corrupt;
pub mod diffusion;
pub mod draw;
pub mod fill_in_the_middle;
pub mod ids;
pub mod infill;
pub mod masked_lm;
pub mod merge;
pub mod mixture;
pub mod plan;
pub mod row;
pub mod rules;
pub mod seq_to_seq;
pub mod words;
