#include "sha256.hpp"

#include <array>
#include <cstdint>
#include <fstream>
#include <vector>

#include "error.hpp"

namespace effc {
namespace {

using Word = std::uint32_t;

// The first 32 fractional bits of the cube roots of the first 64 primes.
constexpr std::array<Word, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::size_t kBlock = 64;
constexpr std::size_t kRead = 1 << 20;

Word rotated(Word x, int n) { return x >> n | x << (32 - n); }

class Digest {
 public:
  void block(const unsigned char* bytes) {
    std::array<Word, 64> w;
    for (int t = 0; t < 16; ++t, bytes += 4)
      w[t] = Word{bytes[0]} << 24 | Word{bytes[1]} << 16 | Word{bytes[2]} << 8 | Word{bytes[3]};
    for (int t = 16; t < 64; ++t) {
      const Word s0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ w[t - 15] >> 3;
      const Word s1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ w[t - 2] >> 10;
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (int t = 0; t < 64; ++t) {
      const Word s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const Word s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const Word first = h + s1 + ((e & f) ^ (~e & g)) + kRound[t] + w[t];
      const Word second = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const std::array<Word, 8> sum = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state_[i] += sum[i];
  }

  std::string hex() const {
    std::string made;
    for (const Word word : state_)
      for (int shift = 28; shift >= 0; shift -= 4) made += "0123456789abcdef"[word >> shift & 15];
    return made;
  }

 private:
  // The first 32 fractional bits of the square roots of the first 8 primes.
  std::array<Word, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

// What is left over, a 1 bit, zeros, and the length of the whole in bits: one block or two.
void finish(Digest& digest, std::vector<unsigned char> rest, std::uint64_t length) {
  rest.push_back(0x80);
  while (rest.size() % kBlock != kBlock - 8) rest.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8) rest.push_back(static_cast<unsigned char>(length * 8 >> shift));
  for (std::size_t at = 0; at < rest.size(); at += kBlock) digest.block(rest.data() + at);
}

}  // namespace

std::string sha256(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw bad_input("it cannot be read", path.string());
  Digest digest;
  std::uint64_t length = 0;
  std::vector<unsigned char> buffer(kRead);
  while (stream.read(reinterpret_cast<char*>(buffer.data()), kRead), stream.gcount() == kRead) {
    for (std::size_t at = 0; at < kRead; at += kBlock) digest.block(buffer.data() + at);
    length += kRead;
  }
  const std::size_t count = static_cast<std::size_t>(stream.gcount()), whole = count / kBlock * kBlock;
  for (std::size_t at = 0; at < whole; at += kBlock) digest.block(buffer.data() + at);
  finish(digest, {buffer.begin() + whole, buffer.begin() + count}, length + count);
  return digest.hex();
}

}  // namespace effc
