//! stub
/// A bucket
#[derive(Clone, Debug)]
pub struct Bucket;
impl Bucket {
    /// `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///path` (or a plain path), `memory://`.
    /// Reads the providers' usual environment variables. Creates nothing.
    ///
    /// # Errors
    /// `Unsupported` with what is wrong with the URL.
    pub fn open(_url: &str) -> crate::Result<Self> {
        todo!()
    }
    /// For people: the URL without secrets.
    pub fn url(&self) -> &str {
        todo!()
    }
    /// Whether it is a local folder.
    pub fn is_folder(&self) -> bool {
        todo!()
    }
}
