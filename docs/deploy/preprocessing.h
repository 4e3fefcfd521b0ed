// From a picture of any size to a network's input, as larq_insta/lite/preprocessing.py does it.
// Needs nothing but C++17; what goes wrong is thrown as std::runtime_error.

#ifndef LARQ_INSTA_PREPROCESSING_H_
#define LARQ_INSTA_PREPROCESSING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace larq_insta {

struct Picture {
  int height, width, channels;
  std::vector<float> values;  // 0 to 255, row by row, the colours of a pixel together
};

// What larq_insta.json says under "preprocessing".
struct Preprocessing {
  int size, channels;
  float crop;
  std::vector<float> mean, std;
  bool bicubic;
};

// What one pixel of the result takes from a row or column: pixels from `first` on.
struct Taps {
  int first;
  std::vector<float> weights;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read.");
  return {std::istreambuf_iterator<char>(file), {}};
}

// The text after a key. No JSON parser: the file is always laid out as larq_insta writes it.
inline std::string After(const std::string& json, const std::string& key) {
  const size_t place = json.find("\"" + key + "\": ");
  if (place == std::string::npos) throw std::runtime_error("larq_insta.json has no " + key + ".");
  return json.substr(place + key.size() + 4);
}

inline std::vector<float> Numbers(const std::string& json, const std::string& key) {
  const std::string list = After(json, key);
  std::vector<float> numbers;
  const char* place = list.c_str();  // at the bracket, then at commas
  do {
    char* end;
    numbers.push_back(std::strtof(place + 1, &end));
    place = end + std::strspn(end, " \n");
  } while (*place == ',');
  return numbers;
}

inline Preprocessing ReadPreprocessing(const std::string& path) {
  const std::string json = After(ReadFile(path), "preprocessing");
  return {std::stoi(After(json, "size")),
          std::stoi(After(json, "channels")),
          std::stof(After(json, "crop")),
          Numbers(json, "mean"),
          Numbers(json, "std"),
          After(json, "resampling").find("\"bicubic\"") == 0};
}

inline int HeaderNumber(std::istream& file) {
  while ((file >> std::ws).peek() == '#') {
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  int number = 0;
  file >> number;
  return number;
}

// A binary PPM (colour) or PGM (grey) file.
inline Picture ReadPicture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read.");
  std::string kind;
  file >> kind;
  const int width = HeaderNumber(file), height = HeaderNumber(file);
  if ((kind != "P5" && kind != "P6") || HeaderNumber(file) != 255 || width < 1 || height < 1) {
    throw std::runtime_error(path + " is no binary PPM or PGM picture with 8 bits a colour.");
  }
  file.get();  // the one blank before the pixels
  const int channels = kind == "P6" ? 3 : 1;
  std::string bytes(size_t{1} * height * width * channels, '\0');
  if (!file.read(&bytes[0], bytes.size())) throw std::runtime_error(path + " is cut off.");
  Picture picture{height, width, channels, {}};
  for (const char byte : bytes) picture.values.push_back(static_cast<uint8_t>(byte));
  return picture;
}

// Upright, by the orientation in EXIF data: 1 is upright, from 5 on the picture lies.
inline Picture Turn(const Picture& in, int orientation) {
  if (orientation < 2 || orientation > 8) return in;
  const bool lies = orientation > 4;
  const bool from_below = std::strchr("3467", '0' + orientation) != nullptr;
  const bool from_right = std::strchr("2378", '0' + orientation) != nullptr;
  Picture out{lies ? in.width : in.height, lies ? in.height : in.width, in.channels, {}};
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int row = lies ? x : y, column = lies ? y : x;
      const int from_row = from_below ? in.height - 1 - row : row;
      const int from_column = from_right ? in.width - 1 - column : column;
      const auto pixel = in.values.begin() + (from_row * in.width + from_column) * in.channels;
      out.values.insert(out.values.end(), pixel, pixel + in.channels);
    }
  }
  return out;
}

// The centre square of `crop` times the shorter side.
inline Picture CentreSquare(const Picture& in, float crop) {
  const int side = std::max(1, static_cast<int>(std::min(in.height, in.width) * crop));
  const int top = (in.height - side + 1) / 2, left = (in.width - side + 1) / 2;
  Picture out{side, side, in.channels, {}};
  for (int y = 0; y < side; ++y) {
    const auto row = in.values.begin() + ((top + y) * in.width + left) * in.channels;
    out.values.insert(out.values.end(), row, row + side * in.channels);
  }
  return out;
}

// Linear, over as many pixels as fall into one of the result: tf.image.resize with antialias.
inline Taps LinearTaps(int at, int in, int out) {
  const float ratio = 1 / (static_cast<float>(out) / in), reach = std::max(ratio, 1.0f);
  const float centre = (at + 0.5f) * ratio;
  const int first = std::max(0, static_cast<int>(std::ceil(centre - reach - 0.5f)));
  const int last = std::min(in - 1, static_cast<int>(std::floor(centre + reach - 0.5f)));
  Taps taps{first, {}};
  for (int i = first; i <= last; ++i) {
    taps.weights.push_back(std::max(0.0f, 1 - std::abs(i + 0.5f - centre) / reach));
  }
  const float total = std::accumulate(taps.weights.begin(), taps.weights.end(), 0.0f);
  for (float& weight : taps.weights) weight /= total;
  return taps;
}

// Cubic with a = -0.75 through four pixels, the outermost repeated: tf.raw_ops.ResizeBicubic,
// which knows 1024 places between two pixels.
inline Taps CubicTaps(int at, int in, int out) {
  const float place = at * (static_cast<float>(in) / out);
  const int base = static_cast<int>(place);
  const float offset = std::nearbyint((place - base) * 1024) / 1024, a = -0.75f;
  const int first = std::max(0, base - 1), last = std::min(in - 1, base + 2);
  Taps taps{first, std::vector<float>(last - first + 1)};
  for (int i = base - 1; i <= base + 2; ++i) {
    const float x = std::abs(i - base - offset);
    const float weight = x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1
                                : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    taps.weights[std::clamp(i, first, last) - first] += weight;
  }
  return taps;
}

// Resizes to `size` rows and exchanges rows and columns: twice is a resized picture.
inline Picture ResizeAndTurn(const Picture& in, int size, bool bicubic) {
  Picture out{in.width, size, in.channels, {}};
  out.values.resize(size_t{1} * in.width * size * in.channels);
  for (int y = 0; y < size; ++y) {
    const Taps taps = (bicubic ? CubicTaps : LinearTaps)(y, in.height, size);
    for (int x = 0; x < in.width; ++x) {
      for (int c = 0; c < in.channels; ++c) {
        float sum = 0;
        for (size_t i = 0; i < taps.weights.size(); ++i) {
          sum += taps.weights[i] * in.values[((taps.first + i) * in.width + x) * in.channels + c];
        }
        out.values[(x * size + y) * in.channels + c] = sum;
      }
    }
  }
  return out;
}

inline std::vector<float> Prepare(const Picture& picture, const Preprocessing& pre) {
  if (picture.channels > pre.channels) {
    throw std::runtime_error("The network takes grey pictures: give a PGM file.");
  }
  Picture square = CentreSquare(picture, pre.crop);
  square = ResizeAndTurn(ResizeAndTurn(square, pre.size, pre.bicubic), pre.size, pre.bicubic);
  const int copies = pre.channels / square.channels;  // of grey, for three colours
  std::vector<float> input;
  for (const float value : square.values) {
    const float whole = std::clamp(std::nearbyint(value), 0.0f, 255.0f);
    for (int i = 0; i < copies; ++i) {
      const size_t c = pre.mean.size() == 1 ? 0 : input.size() % pre.channels;
      input.push_back((whole - pre.mean[c]) / pre.std[c]);
    }
  }
  return input;
}

}  // namespace larq_insta

#endif  // LARQ_INSTA_PREPROCESSING_H_
