//! Span corruption: lengths are planned, spans drawn, inputs and targets written. Each case is timed next to a memory copy of the same size.

mod cases;

against_floor!(cases::noise);
