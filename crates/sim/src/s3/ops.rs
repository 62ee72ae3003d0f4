//! The S3 operations: from the protocol's types to the objects and back. It owns what a header
//! means; what is atomic is `objects`' business, and what goes wrong is `serve`'s.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use s3s::dto::{
    CommonPrefix, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource,
    CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, StreamingBlob,
    Timestamp,
};
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::access::denied;
use super::faults::{Faults, Quirks};
use super::objects::{Attributes, Condition, Object, Objects, Query};
use super::serve::BODY_BYTES_MAX;

/// S3's own limit of keys a page.
const LIST_KEYS_MAX: usize = 1000;

/// The operations over these objects.
pub(super) struct Operations {
    pub(super) objects: Arc<Objects>,
    pub(super) faults: Faults,
}

impl Operations {
    /// The object for a reader who sent these conditions, or the 304, 403, 404 or 412.
    fn read(&self, bucket: &str, key: &str, conditions: &ReadConditions<'_>) -> S3Result<Object> {
        match self.objects.get(bucket, key)? {
            Some(object) => conditions.judge(&object).map(|()| object),
            // S3 hides absence from those who may not list.
            None if self.faults.quirks().no_list_permission => Err(denied()),
            None => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        }
    }

    fn now(&self) -> SystemTime {
        now(&self.faults.quirks())
    }
}

/// The time by the server's clock, which may be off.
pub(super) fn now(quirks: &Quirks) -> SystemTime {
    let offset = Duration::from_secs(quirks.clock_offset_s.unsigned_abs());
    let now = SystemTime::now();
    if quirks.clock_offset_s < 0 { now - offset } else { now + offset }
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let conditions = ReadConditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        let object = self.read(&input.bucket, &input.key, &conditions)?;
        let (body, content_range) = match input.range {
            None => (object.body, None),
            Some(range) => {
                let whole = object.body.len() as u64;
                let part = range.check(whole)?;
                let header = format!("bytes {}-{}/{whole}", part.start, part.end - 1);
                (slice(&object.body, &part), Some(header))
            }
        };
        let attributes = object.attributes;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(&body)),
            body: Some(StreamingBlob::from(Body::from(body))),
            content_range,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified),
            cache_control: attributes.cache_control,
            content_disposition: attributes.content_disposition,
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            content_type: attributes.content_type,
            metadata: attributes.metadata,
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let conditions = ReadConditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        let object = self.read(&input.bucket, &input.key, &conditions)?;
        let attributes = object.attributes;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(&object.body)),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified),
            cache_control: attributes.cache_control,
            content_disposition: attributes.content_disposition,
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            content_type: attributes.content_type,
            metadata: attributes.metadata,
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let condition = write_condition(&request.headers, &self.faults.quirks())?;
        let input = request.input;
        let body = match input.body {
            None => Bytes::new(),
            Some(body) => Body::from(body)
                .store_all_limited(BODY_BYTES_MAX)
                .await
                .map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?,
        };
        let attributes = Attributes {
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            content_type: input.content_type,
            metadata: input.metadata,
        };
        let object = Object::new(body, attributes, self.now());
        let e_tag = Some(ETag::Strong(object.etag.clone()));
        self.objects.put(&input.bucket, &input.key, object, &condition)?;
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let condition = write_condition(&request.headers, &self.faults.quirks())?;
        let input = request.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only copies between buckets of this server"));
        };
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        };
        let source = self.read(bucket, key, &conditions).map_err(|error| match error.code() {
            // A copy has no "not modified": S3 refuses by 412 whichever condition failed.
            S3ErrorCode::NotModified => s3_error!(PreconditionFailed),
            _ => error,
        })?;
        let copy = Object::new(source.body, source.attributes, self.now());
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(copy.etag.clone())),
            last_modified: Some(copy.last_modified.clone()),
            ..CopyObjectResult::default()
        };
        self.objects.put(&input.bucket, &input.key, copy, &condition)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.objects.delete(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        let mut deleted = Vec::new();
        for object in input.delete.objects {
            self.objects.delete(&input.bucket, &object.key)?;
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        let deleted = if input.delete.quiet == Some(true) { None } else { Some(deleted) };
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let max_keys = input.max_keys.and_then(|keys| usize::try_from(keys).ok());
        let page = self.objects.list(
            &input.bucket,
            &Query {
                prefix: input.prefix.as_deref().unwrap_or(""),
                delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
                start_after: input.start_after.as_deref().unwrap_or(""),
                token: input.continuation_token.as_deref().unwrap_or(""),
                max_keys: max_keys.unwrap_or(LIST_KEYS_MAX).min(LIST_KEYS_MAX),
            },
        )?;
        let key_count = i32::try_from(page.objects.len() + page.common_prefixes.len())
            .expect("a page has at most 1,000 entries");
        let contents = page.objects.into_iter().map(|(key, object)| s3s::dto::Object {
            key: Some(key),
            size: Some(length(&object.body)),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified),
            ..s3s::dto::Object::default()
        });
        let common_prefixes =
            page.common_prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: input.max_keys,
            key_count: Some(key_count),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(contents.collect()),
            common_prefixes: Some(common_prefixes.collect()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.objects.create_bucket(&request.input.bucket)?;
        let location = Some(format!("/{}", request.input.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.objects.has_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }
}

/// The conditions of a reader, judged in the order of RFC 9110, section 13.2.2.
struct ReadConditions<'a> {
    if_match: Option<&'a ETagCondition>,
    if_none_match: Option<&'a ETagCondition>,
    if_modified_since: Option<&'a Timestamp>,
    if_unmodified_since: Option<&'a Timestamp>,
}

impl ReadConditions<'_> {
    fn judge(&self, object: &Object) -> S3Result<()> {
        let failed = match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => !names(condition, object),
            (None, Some(date)) => object.last_modified > *date,
            (None, None) => false,
        };
        if failed {
            return Err(s3_error!(PreconditionFailed));
        }
        let not_modified = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => names(condition, object),
            (None, Some(date)) => object.last_modified <= *date,
            (None, None) => false,
        };
        if not_modified {
            return Err(unchanged(object));
        }
        Ok(())
    }
}

fn names(condition: &ETagCondition, object: &Object) -> bool {
    condition.as_etag().is_none_or(|tag| tag.value() == object.etag)
}

fn unchanged(object: &Object) -> S3Error {
    let tag = ETag::Strong(object.etag.clone());
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, tag.to_http_header().expect("a tag in hex is a header value"));
    let mut error = s3_error!(NotModified);
    error.set_headers(headers);
    error
}

/// The condition of a write, as this server with its quirks understands it. It is read from the
/// headers: quotes are gone in the parsed input, and a copy's input does not have them at all.
fn write_condition(headers: &HeaderMap, quirks: &Quirks) -> S3Result<Condition> {
    if let Some(value) = headers.get(IF_NONE_MATCH).filter(|_| !quirks.ignore_conditions) {
        if value != "*" {
            return Err(s3_error!(NotImplemented, "If-None-Match of a write takes only *"));
        }
        return Ok(Condition::Absent);
    }
    let Some(value) = headers.get(IF_MATCH).filter(|_| !quirks.ignore_if_match) else {
        return Ok(Condition::Always);
    };
    match value.as_bytes() {
        b"*" => Ok(Condition::Present),
        [b'"', ..] if quirks.refuse_quoted_if_match => Ok(Condition::Unreadable),
        bytes => match ETag::parse_http_header(bytes) {
            Ok(tag) => Ok(Condition::Tag(tag.into_value())),
            Err(error) => Err(s3_error!(error, InvalidArgument, "If-Match is not an ETag")),
        },
    }
}

fn slice(body: &Bytes, range: &std::ops::Range<u64>) -> Bytes {
    let index = |at: u64| usize::try_from(at).expect("a range inside a body in memory");
    body.slice(index(range.start)..index(range.end))
}

fn length(body: &Bytes) -> i64 {
    i64::try_from(body.len()).expect("a body in memory is shorter than 8 EiB")
}
