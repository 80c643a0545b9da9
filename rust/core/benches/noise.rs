//! Span corruption: lengths planned, spans drawn, inputs and targets written. Each case is timed next to a memory copy of as many bytes.

mod cases;

against_floor!(cases::noise);
