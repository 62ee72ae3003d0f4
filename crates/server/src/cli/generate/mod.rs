//! `movies-api gen`: a catalogue of any size for trials and benchmarks, the same from the same
//! seed, one movie at a time. Opens no bucket.
//!
//! Keys are unique by construction, so that eleven million need no memory: each form of title has
//! a number of combinations of its words, which a stride visits in a scattered order, and once all
//! are used up they come again with subtitles. No title of one form is one of another.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::config::{GenArgs, ListFormat};

mod words;

use words::{ADJECTIVES, FAMILY, GENRES, GIVEN, NOUNS, PLACES, SYLLABLES, WORLD};

/// The year in which the catalogue ends; a constant, as the same seed gives the same bytes for ever.
const LAST_YEAR: u64 = 2025;
/// How many years it spans.
const YEARS: u64 = 130;
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the catalogue to standard output.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(args: &GenArgs) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut catalogue = Catalogue::new(args.seed);
    let mut movie = String::new();
    let (open, between, close) = match args.format {
        ListFormat::Ndjson => ("", "", ""),
        ListFormat::Json => ("[\n", ",\n", "\n]\n"),
    };
    out.write_all(open.as_bytes())?;
    for number in 0..args.number {
        movie.clear();
        if number > 0 {
            movie.push_str(between);
        }
        catalogue.movie(number, &mut movie);
        if args.format == ListFormat::Ndjson {
            movie.push('\n');
        }
        out.write_all(movie.as_bytes())?;
    }
    out.write_all(close.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Scatters the subtitles; a prime that does not divide the number of names.
const NAME_STRIDE: u64 = 104_729;

/// The movies of one seed.
struct Catalogue {
    seed: u64,
    forms: [Form; 8],
}

/// A form of title, as a list of slots.
struct Form {
    slots: &'static [Slot],
    /// How many titles it has.
    titles: u64,
    /// What a title's number is multiplied with, modulo `titles`: coprime to it, hence a
    /// permutation.
    stride: u64,
}

/// A part of a title.
enum Slot {
    Text(&'static str),
    Word(&'static [&'static str]),
    /// A proper name of three syllables.
    Name,
}

/// How many of sixteen movies have which form, by its place in [`FORMS`].
const MIX: [usize; 16] = [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 7];

/// No two forms share a title: they differ in their number of words, or in the texts between.
const FORMS: [&[Slot]; 8] = [
    &[Slot::Name],
    &[Slot::Text("The "), Slot::Word(ADJECTIVES), Slot::Text(" "), Slot::Word(NOUNS)],
    &[Slot::Word(NOUNS), Slot::Text(" of "), Slot::Name],
    &[Slot::Name, Slot::Text("'s "), Slot::Word(NOUNS)],
    &[
        Slot::Word(ADJECTIVES),
        Slot::Text(" "),
        Slot::Word(NOUNS),
        Slot::Text(" in "),
        Slot::Word(PLACES),
    ],
    &[
        Slot::Text("The "),
        Slot::Word(NOUNS),
        Slot::Text(" and the "),
        Slot::Word(ADJECTIVES),
        Slot::Text(" "),
        Slot::Word(NOUNS),
    ],
    &[
        Slot::Name,
        Slot::Text(": The "),
        Slot::Word(ADJECTIVES),
        Slot::Text(" "),
        Slot::Word(NOUNS),
        Slot::Text(" of "),
        Slot::Word(PLACES),
    ],
    &[Slot::Word(WORLD), Slot::Text(" "), Slot::Name],
];

impl Slot {
    fn count(&self) -> u64 {
        match self {
            Self::Text(_) => 1,
            Self::Word(words) => words.len() as u64,
            Self::Name => (SYLLABLES.len() as u64).pow(3),
        }
    }

    /// Writes choice `number`, which is below `count`.
    fn write(&self, number: u64, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Word(words) => out.push_str(at(words, number)),
            Self::Name => write_name(number, out),
        }
    }
}

/// A proper name: three syllables, the first letter in upper case.
fn write_name(mut number: u64, out: &mut String) {
    for place in 0..3 {
        let syllable = at(SYLLABLES, number);
        number /= SYLLABLES.len() as u64;
        let mut letters = syllable.chars();
        match letters.next() {
            Some(first) if place == 0 => {
                out.extend(first.to_uppercase());
                out.push_str(letters.as_str());
            }
            _ => out.push_str(syllable),
        }
    }
}

impl Catalogue {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, u64::MAX);
        let forms = FORMS.map(|slots| {
            let titles = slots.iter().map(Slot::count).product();
            // Near the golden section, so that neighbours lie far apart.
            let mut stride = titles / 8 * 5 + random.below(titles / 8 + 1);
            while common_divisor(stride, titles) != 1 {
                stride += 1;
            }
            Form { slots, titles, stride }
        });
        Self { seed, forms }
    }

    /// Appends movie `number` as one JSON object, 200 to 300 bytes most of the time.
    fn movie(&mut self, number: u64, out: &mut String) {
        let mut random = Random::new(self.seed, number);
        out.push_str("{\"name\":\"");
        self.title(number, out);
        // A cube, so that half of all movies are of the last sixteen years.
        let share = random.below(1 << 16);
        let age = (share * share * share * YEARS) >> 48;
        let _ = write!(out, "\",\"year\":{},\"director\":\"", LAST_YEAR - age);
        person(&mut random, out);
        out.push_str("\",\"genres\":[");
        let first = random.below(GENRES.len() as u64);
        for step in 0..=random.below(3) {
            // Coprime to the number of genres, hence three different ones.
            let genre = at(GENRES, first + step * 5);
            let _ = write!(out, "{}\"{genre}\"", if step == 0 { "" } else { "," });
        }
        let runtime = 60 + random.below(40) + random.below(40) + random.below(40);
        let rating = 10 + random.below(31) + random.below(31) + random.below(31);
        // Few are seen by many.
        let votes = (random.below(1 << 20) + 5) >> random.below(18);
        let _ = write!(
            out,
            "],\"runtime\":{runtime},\"rating\":{}.{},\"votes\":{votes},\"cast\":[",
            rating / 10,
            rating % 10
        );
        for place in 0..3 + random.below(4) {
            out.push_str(if place == 0 { "\"" } else { ",\"" });
            person(&mut random, out);
            out.push('"');
        }
        out.push_str("]}");
    }

    fn title(&self, number: u64, out: &mut String) {
        let (cycle, place) = (number / MIX.len() as u64, number % MIX.len() as u64);
        let kind = at(&MIX, place);
        // The how-manieth of its form this one is.
        let of_kind = |places: &[usize]| places.iter().filter(|k| **k == kind).count() as u64;
        let before = MIX.iter().take(usize::try_from(place).unwrap_or_default());
        let before = before.filter(|k| **k == kind).count() as u64;
        let nth = cycle * of_kind(&MIX) + before;
        let Some(form) = self.forms.get(kind) else { return };
        let part = nth / form.titles;
        let mut choice = scattered(nth % form.titles, form);
        for slot in form.slots {
            slot.write(choice % slot.count(), out);
            choice /= slot.count();
        }
        if part > 0 {
            out.push_str(": ");
            let names = Slot::Name.count();
            Slot::Name.write(part * NAME_STRIDE % names, out);
        }
    }
}

/// Both factors may have 40 bits, so the product needs more than 64.
fn scattered(nth: u64, form: &Form) -> u64 {
    let product = u128::from(nth) * u128::from(form.stride) % u128::from(form.titles);
    u64::try_from(product).expect("a remainder of a u64 is one")
}

fn person(random: &mut Random, out: &mut String) {
    out.push_str(at(GIVEN, random.next()));
    out.push(' ');
    out.push_str(at(FAMILY, random.next()));
}

/// The word at `number`, counted around.
fn at<T: Copy>(words: &[T], number: u64) -> T {
    let place = usize::try_from(number % words.len() as u64).expect("it is below a length");
    *words.get(place).expect("the remainder is within")
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): ten lines that are the same on every platform and in
/// every version, which no crate promises of its default generator.
struct Random(u64);

impl Random {
    /// The numbers of one movie.
    fn new(seed: u64, stream: u64) -> Self {
        let mut mixer = Self(seed ^ stream.rotate_left(32));
        Self(mixer.next() ^ stream)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use movies_store::movie::{Movie, MovieLimits};
    use std::collections::BTreeSet;

    fn movies(seed: u64, numbers: impl Iterator<Item = u64>) -> Vec<String> {
        let mut catalogue = Catalogue::new(seed);
        numbers
            .map(|number| {
                let mut movie = String::new();
                catalogue.movie(number, &mut movie);
                movie
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_movies_and_another_seed_others() {
        let of = |seed| movies(seed, 0..100);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_eq!(of(7)[..50], movies(7, 0..50), "more movies do not change the first ones");
    }

    #[test]
    fn every_movie_is_one_and_no_name_stands_twice() {
        let mut names = BTreeSet::new();
        // The beginning, and where the forms with few titles go on as second parts.
        let late = 11_000_000_u64;
        for movie in movies(1, (0..100_000).chain(late..late + 50_000)) {
            let movie = Movie::parse_record(movie.as_bytes(), MovieLimits::default()).unwrap();
            assert!(names.insert(movie.key().name().to_owned()), "{} twice", movie.key());
        }
    }

    #[test]
    fn a_stride_visits_every_title() {
        for form in Catalogue::new(3).forms {
            assert_eq!(common_divisor(form.stride, form.titles), 1);
            assert!(form.stride < 2 * form.titles);
        }
    }

    #[test]
    fn sizes_and_years_are_those_of_a_real_catalogue() {
        let movies = movies(1, 0..20_000);
        let bytes: usize = movies.iter().map(String::len).sum();
        assert!((200..300).contains(&(bytes / movies.len())), "{}", bytes / movies.len());
        let recent = movies.iter().filter(|movie| movie.contains("\"year\":20")).count();
        assert!((10_000..16_000).contains(&recent), "{recent} since 2000");
        let name = |movie: &String| movie.split('"').nth(3).unwrap().to_owned();
        let names: Vec<String> = movies.iter().map(name).collect();
        let plain = names.iter().filter(|name| name.is_ascii()).count();
        assert!((15_000..19_000).contains(&plain), "{plain} names in ASCII");
        let letters: usize = names.iter().map(|name| name.chars().count()).sum();
        assert!((14..25).contains(&(letters / names.len())), "{}", letters / names.len());
    }
}
