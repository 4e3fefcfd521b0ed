// Names what a picture shows, with a file that `larq-insta convert` has written:
//   unzip model.tflite labels.txt larq_insta.json
//   classify model.tflite photo.ppm ORIENTATION
// The orientation is that in the EXIF data of the photograph, 1 (upright) if left out.
// docs/deploy_cpp.md tells how to build it. With -DWITHOUT_LCE it needs TensorFlow Lite alone, and
// runs files that have builtin operators only.

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "preprocessing.h"
#include "tensorflow/lite/interpreter.h"
#include "tensorflow/lite/kernels/register.h"
#include "tensorflow/lite/model.h"
#ifndef WITHOUT_LCE
#include "larq_compute_engine/tflite/kernels/lce_ops_register.h"
#endif

// The probabilities of all classes.
std::vector<float> Run(const std::string& path, const std::vector<float>& input) {
  const auto model = tflite::FlatBufferModel::VerifyAndBuildFromFile(path.c_str());
  if (!model) throw std::runtime_error(path + " is no whole TensorFlow Lite file.");
  tflite::ops::builtin::BuiltinOpResolver resolver;
#ifndef WITHOUT_LCE
  compute_engine::tflite::RegisterLCECustomOps(&resolver);
#endif
  std::unique_ptr<tflite::Interpreter> interpreter;
  tflite::InterpreterBuilder(*model, resolver)(&interpreter);
  if (!interpreter || interpreter->AllocateTensors() != kTfLiteOk) {
    throw std::runtime_error(path + " cannot be loaded; the reason stands above.");
  }
  if (interpreter->input_tensor(0)->bytes != input.size() * sizeof(float)) {
    throw std::runtime_error(path + " takes other pictures than larq_insta.json says.");
  }
  std::copy(input.begin(), input.end(), interpreter->typed_input_tensor<float>(0));
  if (interpreter->Invoke() != kTfLiteOk) throw std::runtime_error(path + " failed.");
  const float* output = interpreter->typed_output_tensor<float>(0);
  return {output, output + interpreter->output_tensor(0)->bytes / sizeof(float)};
}

void Classify(const std::string& model, const std::string& picture, int orientation) {
  const auto pre = larq_insta::ReadPreprocessing("larq_insta.json");
  const auto upright = larq_insta::Turn(larq_insta::ReadPicture(picture), orientation);
  const auto input = larq_insta::Prepare(upright, pre);
  const std::vector<float> probabilities = Run(model, input);
  std::ifstream labels("labels.txt");
  std::vector<std::string> names;
  for (std::string line; std::getline(labels, line);) names.push_back(line);
  if (names.size() != probabilities.size()) {
    throw std::runtime_error("labels.txt is missing or of another model.");
  }
  std::vector<int> order(names.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return probabilities[a] > probabilities[b]; });
  order.resize(std::min<size_t>(3, order.size()));
  for (const int i : order) std::cout << names[i] << " " << 100 * probabilities[i] << " %\n";
}

int main(int argc, char* argv[]) {
  try {
    if (argc != 3 && argc != 4) {
      throw std::runtime_error("Usage: classify MODEL.tflite PICTURE.ppm [ORIENTATION]");
    }
    Classify(argv[1], argv[2], argc == 4 ? std::atoi(argv[3]) : 1);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
