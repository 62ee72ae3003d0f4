#Requires -Version 7.0
# Every line of the API that one needs in a day, by Invoke-WebRequest: pwsh movies.ps1
#
# MOVIES_URL is where the service is; MOVIES_USERNAME and MOVIES_PASSWORD log in where they are set.
# Version 7, since Windows PowerShell 5.1 sends bodies in Latin-1, decodes %2F in a URL, and throws
# away what the service says about a failure.
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version Latest

$url = if ($env:MOVIES_URL) { $env:MOVIES_URL } else { 'http://127.0.0.1:5000' }
$headers = @{}
$attemptsMax = 5

# One request; what is not among the expected statuses ends the script with the service's words.
function Send-Request($Method, $Target, $Movie, $With = @{}, $Expect = @(200, 201, 204)) {
    $request = @{
        Uri                = "$url$Target"
        Method             = $Method
        Headers            = $headers + $With
        SkipHttpErrorCheck = $true
    }
    if ($null -ne $Movie) {
        $request.Body = $Movie | ConvertTo-Json -Depth 64 -Compress
        $request.ContentType = 'application/json; charset=utf-8'
    }
    $answer = Invoke-WebRequest @request
    if ($answer.StatusCode -notin $Expect) {
        throw "$Method $Target was answered $($answer.StatusCode): $($answer.Content)"
    }
    $answer
}

# A name is one segment, whatever is in it: `Face/Off` is `Face%2FOff`.
function Get-Target($Name, $Year) {
    "/api/movies/$([uri]::EscapeDataString($Name))/$Year"
}

# Log in. Tokens hold for an hour; after a 401 log in again.
if ($env:MOVIES_USERNAME) {
    $login = @{ username = $env:MOVIES_USERNAME; password = $env:MOVIES_PASSWORD }
    $token = (Send-Request Post '/login' $login).Content | ConvertFrom-Json
    $headers['Authorization'] = "Bearer $($token.access_token)"
}

# Store a movie, or replace it.
(Send-Request Put (Get-Target 'Inception2' 2010) @{ director = 'me'; genre = 'nothing' }).Content

# All of them; of one year; of one name; both.
(Send-Request Get '/api/movies').Content
(Send-Request Get '/api/movies/query?year=2010').Content
(Send-Request Get '/api/movies/query?name=Inception2').Content
(Send-Request Get '/api/movies/query?name=Inception2&year=2010').Content

# A name with a slash.
$null = Send-Request Put (Get-Target 'Face/Off' 1997) @{ director = 'Woo' }
(Send-Request Get (Get-Target 'Face/Off' 1997)).Content

# Another collection.
$null = Send-Request Put "$(Get-Target 'Ran' 1985)?filename=archive.json" @{}
(Send-Request Get '/api/movies?filename=archive.json').Content

# Write it unless somebody was faster: read, change, write with the tag that was read.
function Update-Movie($Name, $Year, [scriptblock] $Change) {
    foreach ($attempt in 1..$attemptsMax) {
        $read = Send-Request Get (Get-Target $Name $Year)
        $movie = $read.Content | ConvertFrom-Json -AsHashtable
        $with = @{ 'If-Match' = [string] $read.Headers.ETag }
        $write = Send-Request Put (Get-Target $Name $Year) (& $Change $movie) $with @(200, 409)
        if ($write.StatusCode -eq 200) {
            return $write.Content
        }
    }
    throw "somebody else was faster $attemptsMax times with $Name ($Year)"
}
Update-Movie 'Inception2' 2010 { param($movie) $movie.genre = 'heist'; $movie }

# Write it for certain: with a key that is kept, the same request may be sent again and again.
function Set-MovieOnce($Name, $Year, $Movie, $Key = [guid]::NewGuid().ToString()) {
    foreach ($attempt in 1..$attemptsMax) {
        try {
            $with = @{ 'Idempotency-Key' = $Key }
            $target = Get-Target $Name $Year
            $answer = Send-Request Put $target $Movie $with @(200, 201, 429, 503, 504)
            if ($answer.StatusCode -lt 400) {
                return $answer
            }
            Start-Sleep -Seconds ([int] [string] $answer.Headers['Retry-After'])
        } catch [System.Net.Http.HttpRequestException] {
            # The connection broke: whether it was stored, the next answer says.
            Start-Sleep -Seconds $attempt
        }
    }
    throw "no answer about $Name ($Year) in $attemptsMax attempts; go on with key $Key"
}
$key = [guid]::NewGuid().ToString()
$null = Set-MovieOnce 'Heat' 1995 @{ v = 1 } $key
$again = Set-MovieOnce 'Heat' 1995 @{ v = 1 } $key
"replayed: $($again.Headers['Movies-Replayed'])"

# Export: the array, under its name only when it is whole.
Invoke-WebRequest -Uri "$url/api/movies" -Headers $headers -OutFile 'movies.json.part'
Move-Item -Force 'movies.json.part' 'movies.json'

# Delete.
$null = Send-Request Delete (Get-Target 'Heat' 1995)
'ok'
