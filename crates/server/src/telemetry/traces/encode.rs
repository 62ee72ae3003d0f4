//! Spans as OTLP has them: protobuf messages, whose types are OpenTelemetry's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use movies_store::spans::{Span, SpanContext, SpanKind, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};
use prost::Message as _;
use tokio::time::Instant;

/// Flags of a span: it is sampled, and it is known whether its parent is of another process, which
/// one of them says.
const FLAGS: u32 = 0x1 | otlp::SpanFlags::ContextHasIsRemoteMask as u32;
const REMOTE: u32 = otlp::SpanFlags::ContextIsRemoteMask as u32;

/// What the calendar says at a moment of the steady clock, by which spans are measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    instant: Instant,
    time: SystemTime,
}

impl Clock {
    /// As of now: one for all spans of a call, so that a step does not seem to begin before the one
    /// that it is a part of.
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    fn nanoseconds(self, at: Instant) -> u64 {
        let ago = self.instant.saturating_duration_since(at);
        let time = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = time.saturating_sub(ago) + at.saturating_duration_since(self.instant);
        u64::try_from(Duration::as_nanos(&since)).unwrap_or(u64::MAX)
    }
}

/// Who sends them.
pub(super) fn resource<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Resource {
    let attribute = |(key, value): (&str, &str)| attribute(key, value.to_owned().into());
    Resource { attributes: attributes.map(attribute).collect(), ..Resource::default() }
}

/// The body of a call.
pub(super) fn request(resource: &Resource, spans: &[Span], clock: Clock) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.iter().map(|span| encoded(span, clock)).collect();
    let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let spans = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()
}

fn encoded(span: &Span, clock: Clock) -> otlp::Span {
    let kind = match span.kind {
        SpanKind::Server => otlp::span::SpanKind::Server,
        SpanKind::Internal => otlp::span::SpanKind::Internal,
        SpanKind::Client => otlp::span::SpanKind::Client,
    };
    let attributes = span.attributes.iter().map(|(key, value)| attribute(key, value.clone()));
    // Where nothing failed nothing is said: "ok" is for whoever overrides others.
    let status = span
        .is_failed
        .then(|| Status { code: otlp::status::StatusCode::Error.into(), ..Status::default() });
    otlp::Span {
        trace_id: span.context.trace.0.to_vec(),
        span_id: span.context.span.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: if span.is_parent_remote { FLAGS | REMOTE } else { FLAGS },
        name: span.name.clone().into_owned(),
        kind: kind.into(),
        start_time_unix_nano: clock.nanoseconds(span.began),
        end_time_unix_nano: clock.nanoseconds(span.ended),
        attributes: attributes.collect(),
        links: span.links.iter().copied().map(link).collect(),
        dropped_links_count: span.links_dropped,
        status,
        ..otlp::Span::default()
    }
}

fn link(to: SpanContext) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: to.trace.0.to_vec(),
        span_id: to.span.0.to_vec(),
        flags: FLAGS,
        ..otlp::span::Link::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
        Value::Count(count) => any_value::Value::IntValue(i64::try_from(count).unwrap_or(i64::MAX)),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
