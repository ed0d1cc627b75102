require 'json'

module Reports
  # Sums up what was sold.
  class Report
    attr_reader :title, :rows

    def initialize(title, rows = [])
      @title = title
      @rows = rows
    end

    def add(name, price:, count: 1)
      raise ArgumentError, 'no name' if name.empty?

      @rows << { name: name, price: price, count: count }
      self
    end

    def total
      rows.sum { |row| row[:price] * row[:count] }
    end

    def print_to(output)
      output.puts "#{title}: #{total}"
      rows.each do |row|
        if row[:count] > 1
          output.puts "  #{row[:name]} x #{row[:count]}"
        else
          output.puts "  #{row[:name]}"
        end
      end
    end

    def to_json(*args)
      JSON.generate({ title: title, rows: rows }, *args)
    end
  end
end
