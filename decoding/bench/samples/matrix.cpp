#include <algorithm>
#include <stdexcept>
#include <vector>

namespace numbers {

template <typename T>
class Matrix {
 public:
  Matrix(int rows, int columns) : rows_(rows), columns_(columns), data_(rows * columns) {}

  T& at(int row, int column) {
    if (row < 0 || row >= rows_ || column < 0 || column >= columns_) {
      throw std::out_of_range("no such place");
    }
    return data_[row * columns_ + column];
  }

  Matrix transposed() const {
    Matrix result(columns_, rows_);
    for (int row = 0; row < rows_; ++row) {
      for (int column = 0; column < columns_; ++column) {
        result.at(column, row) = data_[row * columns_ + column];
      }
    }
    return result;
  }

 private:
  int rows_;
  int columns_;
  std::vector<T> data_;
};

int largest(const std::vector<int>& values) {
  auto found = std::max_element(values.begin(), values.end());
  return found == values.end() ? 0 : *found;
}

}  // namespace numbers
